"""Simulated dialogues about booking a table: the task of dialogue bAbI, without a download."""
import numpy as np
import tensorflow_datasets as tfds

from training.datasets import dialogs

DIALOGS = {"train": 500, "validation": 100, "test": 150, "test_oov": 150}
CUISINES = {True: ("greek", "lebanese", "mexican", "polish", "turkish"), False: ("ethiopian", "nepalese", "peruvian")}
"""cuisines in training, and cuisines that occur only in "test_oov"; likewise for places"""
PLACES = {True: ("dublin", "lisbon", "oslo", "prague", "vienna"), False: ("athens", "cairo", "zurich")}
PRICES = ("budget", "medium", "luxury")
PARTIES = ("two", "three", "five", "seven")
SLOTS = ("cuisine", "place", "party", "price")
"""the values of a call, in this order: api_call greek oslo two budget"""
RELATIONS = ("cuisine", "place", "price", "rating", "phone", "address")
NO_RESULT = "api_call no result"

_RESTAURANTS = 3  # of each combination of cuisine, place and price that has any
_NOTHING = 8  # one combination in this many has no restaurant
_SEED = 20_260_201
_FIRST = ("amber", "blue", "copper", "crooked", "dancing", "empty", "gentle", "golden", "green", "happy", "hidden", "iron",
          "little", "lucky", "merry", "old", "quiet", "red", "silver", "sleepy")
_SECOND = ("anchor", "barrel", "bell", "bridge", "candle", "chimney", "clock", "crane", "door", "fox", "garden", "goose",
           "kettle", "lantern", "mill", "oven", "pear", "plum", "spoon", "well")
_STREETS = ("birch_lane", "canal_street", "church_walk", "elm_road", "market_square", "mill_lane", "park_row",
            "river_street", "station_road", "tower_hill")

GREETING = "good day how may i be of service"
UNDERSTOOD = "gladly let me take that down"
QUESTIONS = {"cuisine": "what would you like to eat", "place": "which city shall i look in",
             "party": "how many of you will come", "price": "how much may it cost"}
READY = "that is all i need shall i search"
CHANGED = "changed shall i search now"
NOTHING_FOUND = "i am sorry nothing fits what may i change"
PROPOSAL = "how about {}"
NEXT = "no problem let me see what else there is"
BOOKED = "splendid your table is booked"
DETAILS = {"phone": "you can call them at {}", "address": "you will find it at {}"}
MORE_HELP = "was there anything else"
FAREWELL = "enjoy your meal"

_HELLOS = ("hello", "hi there", "good evening", "hey")
_OPENINGS = ("i need a table", "could you find me a restaurant", "we want to eat out", "help me to reserve a table please")
_WITH = {  # phrases that a request may add to its opening, and answers to a question
    "cuisine": (("with {} food", "that cooks {}"), ("{} food please", "i feel like {}", "{} would be nice")),
    "place": (("in {}", "somewhere in {}"), ("in {} please", "we are in {}", "{}")),
    "party": (("for {}", "for a party of {}"), ("{} of us", "we will be {}", "for {} please")),
    "price": (("at a {} price", "in the {} range"), ("a {} one please", "{} is fine", "i think {}")),
}
_CHANGES = {
    "cuisine": ("make it {} food instead", "on second thought {} food"),
    "place": ("no wait look in {} instead", "on second thought in {}"),
    "party": ("sorry we will be {}", "it is {} of us after all"),
    "price": ("make it a {} one", "on second thought {} prices"),
}
_GO = ("yes please", "go ahead", "please do")
_REFUSALS = ("not that one", "i would rather not", "is there another one")
_ACCEPTANCES = ("sounds good", "that one please", "perfect book it")
_ASKED = {"phone": ("what is their phone number", "can i have the number to call"),
          "address": ("where exactly is it", "tell me the address please")}
_THANKS = ("thank you", "thanks a lot")
_BYES = ("no that was all", "nothing else goodbye")


class RestaurantBooking(tfds.core.GeneratorBasedBuilder):
    """Dialogues with a bot that books restaurant tables, in the form of dialogue bAbI; one example per bot turn.

    A user asks for a table, adds on request the cuisine, place, party size or price that the first sentence left out, and
    sometimes changes one of them. The bot issues an API call with the latest wishes; the knowledge base returns facts about
    three restaurants, or no result; the bot offers them by rating, best first, and gives the phone number and address of the
    one that the user chooses. Cuisines, places and restaurants of "test_oov" do not occur in the other splits.

    The knowledge base ("kb") and all possible responses ("candidates") are further configurations, each with one split of the
    same name.

    Source: a simulator and words of this project, after the five tasks of Bordes, Boureau and Weston, 2017, "Learning End-to-End
    Goal-Oriented Dialog", section 3.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in ("dialogs", "candidates", "kb")]
    NOTICE = "about 10 s"
    pkg_dir_path = None

    def _info(self):
        features = {"dialogs": dialogs.features, "candidates": dialogs.candidate_features,
                    "kb": dialogs.knowledge_features}[self.builder_config.name]()
        return self.dataset_info_from_configs(
            description=self.__doc__, homepage="https://arxiv.org/abs/1605.07683", features=features, disable_shuffling=True)

    def _split_generators(self, dl_manager):
        name = self.builder_config.name
        return {split: self._generate_examples(split) for split in (DIALOGS if name == "dialogs" else [name])}

    def _generate_examples(self, split):
        if split == "kb":
            return dialogs.facts(triples(restaurants()))
        if split == "candidates":
            return dialogs.responses(candidates(restaurants()))
        return dialogs.examples(simulated(split))


def restaurants():
    """Returns the knowledge base: a list of {"name", *RELATIONS, "seen"}.

    Restaurants of the same cuisine, place and price follow each other, best first. "seen" is false for those that occur only
    in "test_oov".
    """
    random = np.random.default_rng(_SEED)
    names = random.permutation([f"{first}_{second}" for first in _FIRST for second in _SECOND]).tolist()
    phones = random.permutation(10_000).tolist()
    addresses = random.permutation([f"{number}_{street}" for number in range(1, 61) for street in _STREETS]).tolist()
    found = []
    for seen in (True, False):
        for number, (cuisine, place, price) in enumerate(
                (c, p, e) for c in CUISINES[seen] for p in PLACES[seen] for e in PRICES):
            if number % _NOTHING == _NOTHING - 1:
                continue
            for rating in sorted(random.choice(9, _RESTAURANTS, replace=False) + 1, reverse=True):
                found.append({"name": names.pop(), "cuisine": cuisine, "place": place, "price": price, "rating": str(rating),
                              "phone": f"555-{phones.pop():04d}", "address": addresses.pop(), "seen": seen})
    return found


def triples(knowledge):
    """Returns the facts of the knowledge base as (subject, relation, object)."""
    return [(each["name"], relation, each[relation]) for each in knowledge for relation in RELATIONS]


def candidates(knowledge):
    """Returns all responses that the bot can give for a knowledge base."""
    responses = [GREETING, UNDERSTOOD, *QUESTIONS.values(), READY, CHANGED, NOTHING_FOUND, NEXT, BOOKED, MORE_HELP, FAREWELL]
    responses += [call((c, p, n, e)) for seen in (True, False) for c in CUISINES[seen] for p in PLACES[seen]
                  for n in PARTIES for e in PRICES]
    responses += [PROPOSAL.format(each["name"]) for each in knowledge]
    return responses + [DETAILS[kind].format(each[kind]) for kind in DETAILS for each in knowledge]


def call(values):
    """Returns the API call for values of `SLOTS`."""
    return " ".join(["api_call", *values])


def simulated(split):
    """Yields each dialogue of a split as a list of (speaker, text)."""
    knowledge = {}
    for each in restaurants():
        knowledge.setdefault((each["cuisine"], each["place"], each["price"]), []).append(each)
    for number in range(DIALOGS[split]):
        # each dialogue has its own generator, so that it does not depend on the number of draws for the others
        random = np.random.default_rng([_SEED, list(DIALOGS).index(split), number])
        yield _dialog(knowledge, split != "test_oov", random)


def _dialog(knowledge, seen, random):
    values = {"cuisine": CUISINES[seen], "place": PLACES[seen], "party": PARTIES, "price": PRICES}
    wish = {slot: _one_of(values[slot], random) for slot in SLOTS}
    spoken = [("user", _one_of(_HELLOS, random)), ("bot", GREETING)]

    def exchange(user, bot):
        spoken.extend([("user", user), ("bot", bot)])

    def change():
        """Lets the user change one wish."""
        slot = _one_of(SLOTS, random)
        wish[slot] = _one_of([value for value in values[slot] if value != wish[slot]], random)
        exchange(_one_of(_CHANGES[slot], random).format(wish[slot]), CHANGED)

    mentioned = [slot for slot in random.permutation(SLOTS).tolist() if random.random() < 0.5]
    request = [_one_of(_OPENINGS, random), *(_one_of(_WITH[slot][0], random).format(wish[slot]) for slot in mentioned)]
    exchange(" ".join(request), UNDERSTOOD)
    user = dialogs.SILENCE
    for slot in SLOTS:
        if slot not in mentioned:
            exchange(user, QUESTIONS[slot])
            user = _one_of(_WITH[slot][1], random).format(wish[slot])
    exchange(user, READY)
    for _ in range(random.choice(3, p=(0.55, 0.3, 0.15))):
        change()

    taken = None
    while taken is None:
        found = knowledge.get((wish["cuisine"], wish["place"], wish["price"]), [])
        exchange(_one_of(_GO, random), call(wish[slot] for slot in SLOTS))
        facts = [("kb", f"{each['name']} {relation} {each[relation]}")
                 for each in random.permutation(np.array(found, object)) for relation in RELATIONS]
        spoken.extend(facts or [("kb", NO_RESULT)])
        user = dialogs.SILENCE
        for number, each in enumerate(found):
            exchange(user, PROPOSAL.format(each["name"]))
            if random.random() < 0.55 or number + 1 == len(found):
                taken = each  # everybody takes the last one, so that the dialogue ends
                break
            exchange(_one_of(_REFUSALS, random), NEXT)
        if taken is None:
            exchange(user, NOTHING_FOUND)
            change()
    exchange(_one_of(_ACCEPTANCES, random), BOOKED)
    for kind in random.permutation(list(DETAILS)).tolist()[:random.integers(3)]:
        exchange(_one_of(_ASKED[kind], random), DETAILS[kind].format(taken[kind]))
    exchange(_one_of(_THANKS, random), MORE_HELP)
    exchange(_one_of(_BYES, random), FAREWELL)
    return spoken


def _one_of(values, random):
    return values[random.integers(len(values))]
