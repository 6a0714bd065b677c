"""``python -m eaves.cli``."""

from eaves.cli import main

if __name__ == "__main__":
    main()
