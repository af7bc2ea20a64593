"""Graded exercises: hand out, collect, grade apart from the student's code, and report.

A student's code runs in a child process (`worker`), which is told inputs and tells plain numbers (`wire`). What is
right, the comparison and the points stay in the instructor's process (`judging`).
"""
