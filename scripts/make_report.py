"""As `cropkt report`."""

from clone import run

if __name__ == "__main__":
    run("report")
