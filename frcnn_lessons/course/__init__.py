"""What runs the course and is no detection: the command, the lessons' runner and linter, the doctor, the diagrams."""
