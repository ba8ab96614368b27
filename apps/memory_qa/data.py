"""The data of this application: stories with questions, or questions about a knowledge base."""
from apps.memory_qa import knowledge, stories
from apps.memory_qa.info import Info  # noqa: F401  a part of this module's contract
from apps.memory_qa.systems import is_knowledge_base


def datasets(config):
    """Returns the Splits of a data set, see `stories.datasets` and `knowledge.datasets`; both have the same inputs and targets.

    Raises:
        UserError: the data set does not exist, or does not have the required features.
    """
    return (knowledge if is_knowledge_base(config.dataset) else stories).datasets(config)
