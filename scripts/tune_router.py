"""As `cropkt route`."""

from clone import run

if __name__ == "__main__":
    run("route")
