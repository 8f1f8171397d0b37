"""As `cropkt init`."""

from clone import run

if __name__ == "__main__":
    run("init")
