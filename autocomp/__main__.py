"""`python -m autocomp` is the command line."""

from autocomp.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
