"""The knowledge base: the facts that an API call finds in it."""

NO_RESULT = "api_call no result"
"""the line that stands for the facts where a call finds none"""
CALL = "api_call"
"""first word of every API call"""


class Knowledge:
    """Facts that API calls look up.

    facts:      "subject relation value"
    candidates: all responses. A place in their API calls at which no call names a value of the knowledge base is no
                condition: a party of four is not looked up where nothing is known of parties.
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
        """Returns all facts about each subject that has every value of a call, or [`NO_RESULT`] where there is none.

        A relation in place of a value, as in "api_call R_cuisine north cheap", stands for any value.
        """
        wanted = {value for place, value in enumerate(call.split()[1:])
                  if place in self.conditions and value not in self.relations and not value.startswith("R_")}
        found = [fact for subject, own in self.facts.items() if wanted <= self.values[subject] for fact in own]
        return found or [NO_RESULT]


def is_call(response):
    """Returns whether a response of the bot is an API call."""
    return response.split(" ")[0] == CALL
