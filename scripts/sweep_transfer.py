"""As `cropkt sweep`."""

from clone import run

if __name__ == "__main__":
    run("sweep")
