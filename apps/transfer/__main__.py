from apps import transfer
from training import cli

cli.main(transfer)
