"""`python -m ergodica` is the command `ergodica`, also in a checkout that is not installed."""

from ergodica.cli import main

if __name__ == "__main__":
    main()
