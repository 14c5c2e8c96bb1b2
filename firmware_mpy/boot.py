"""Runs first on the board; MicroPython then runs `main.py`, from the image that was chosen here."""

import firmware_start

firmware_start.start()
