"""`python -m consumer` is `sprintly-services`."""

from consumer.cli import main

if __name__ == "__main__":
    main()
