from apps import foundations
from training import cli

cli.main(foundations)
