"""`python -m caffecompat`: the command line."""

from caffecompat.cli.main import main

if __name__ == "__main__":
    main()
