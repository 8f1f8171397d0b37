"""As `cropkt pack`."""

from clone import run

if __name__ == "__main__":
    run("pack")
