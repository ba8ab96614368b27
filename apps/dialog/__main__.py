from apps import dialog
from training import cli

cli.main(dialog)
