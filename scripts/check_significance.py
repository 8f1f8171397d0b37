"""As `cropkt check-significance`."""

from clone import run

if __name__ == "__main__":
    run("check-significance")
