"""Reference implementations for a course that builds two-stage object detection, one idea a file."""
