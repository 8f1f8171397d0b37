"""As `cropkt check-factors`."""

from clone import run

if __name__ == "__main__":
    run("check-factors")
