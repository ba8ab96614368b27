from apps import detection
from training import cli

cli.main(detection)
