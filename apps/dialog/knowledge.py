"""The knowledge base, in which API calls look up facts."""

NO_RESULT = "api_call no result"
"""the line for an API call without results"""
CALL = "api_call"
"""first word of every API call"""


class Knowledge:
    """Facts that API calls look up.

    facts:      "subject relation value"
    candidates: all responses. Parameters of API calls that never take a value from the knowledge base are not conditions: the
                party size is ignored if the knowledge base contains no party sizes.
    """

    def __init__(self, facts, candidates):
        self.facts = {}
        for fact in facts:
            self.facts.setdefault(fact.split(" ")[0], []).append(fact)
        self.values = {subject: {fact.split(" ")[2] for fact in own} for subject, own in self.facts.items()}
        self.relations = {fact.split(" ")[1] for fact in facts}
        known = set().union(*self.values.values())
        calls = [candidate.split()[1:] for candidate in candidates if is_call(candidate)]
        self.conditions = {place for call in calls for place, value in enumerate(call) if value in known}

    def answer(self, call):
        """Returns all facts about the subjects that match every value of a call, or [`NO_RESULT`].

        A relation instead of a value, as in "api_call R_cuisine north cheap", matches any value.
        """
        wanted = {value for place, value in enumerate(call.split()[1:])
                  if place in self.conditions and value not in self.relations and not value.startswith("R_")}
        found = [fact for subject, own in self.facts.items() if wanted <= self.values[subject] for fact in own]
        return found or [NO_RESULT]


def is_call(response):
    """Returns whether a response of the bot is an API call."""
    return response.split(" ")[0] == CALL
