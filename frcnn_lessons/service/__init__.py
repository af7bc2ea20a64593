"""A detector as a service: a program sends an image over HTTP and gets its tags back. Lesson 13."""
