"""As `cropkt recommend`."""

from clone import run

if __name__ == "__main__":
    run("recommend")
