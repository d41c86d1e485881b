"""The one kind of error that is the user's to mend."""


class UserError(Exception):
    """Something outside aejax is wrong: a config, a file, a folder, a device.

    The message is one line that names the thing and the way out; the command line prints it
    without a traceback. Everything else that is raised is a defect of aejax and shows one.
    """
