from apps import classification
from training import cli

cli.main(classification)
