"""As `cropkt log`."""

from clone import run

if __name__ == "__main__":
    run("log")
