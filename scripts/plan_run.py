"""As `cropkt plan`."""

from clone import run

if __name__ == "__main__":
    run("plan")
