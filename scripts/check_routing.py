"""As `cropkt check-routing`."""

from clone import run

if __name__ == "__main__":
    run("check-routing")
