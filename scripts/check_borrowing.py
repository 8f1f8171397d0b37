"""As `cropkt check-borrowing`."""

from clone import run

if __name__ == "__main__":
    run("check-borrowing")
