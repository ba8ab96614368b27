from training import cli

cli.main(__package__)
