from apps import memory_qa
from training import cli

cli.main(memory_qa)
