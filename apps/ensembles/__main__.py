from apps import ensembles
from training import cli

cli.main(ensembles)
