"""As `cropkt check`."""

from clone import run

if __name__ == "__main__":
    run("check")
