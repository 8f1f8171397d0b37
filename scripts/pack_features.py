"""As `cropkt simulate`."""

from clone import run

if __name__ == "__main__":
    run("simulate")
