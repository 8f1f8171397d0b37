"""As `cropkt curve`."""

from clone import run

if __name__ == "__main__":
    run("curve")
