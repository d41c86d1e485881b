"""The process and the machine: signals, memory, devices, and files written atomically."""
