"""As `cropkt predict`."""

from clone import run

if __name__ == "__main__":
    run("predict")
