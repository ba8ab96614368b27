"""`python -m apps`: the catalogue of applications; also `python -m apps runs …` and `python -m apps doctor`."""
import importlib
import pkgutil
import sys

import apps
from training import UserError, cli


def catalogue():
    """Returns {task: its package} for every application; importing one imports no TensorFlow."""
    tasks = sorted(module.name for module in pkgutil.iter_modules(apps.__path__) if module.ispkg)
    return {task: importlib.import_module(f"apps.{task}") for task in tasks}


def show():
    """Prints every application with its systems and the command of each."""
    found = catalogue()
    for task, app in found.items():
        print(f"{task}: {app.__doc__.strip().splitlines()[0]}")
        chosen = app.Config().model
        commands = {model: f"python -m apps.{task}" + ("" if model == chosen else f" --model {model}")
                    for model in sorted(app.SYSTEMS, key=lambda model: model != chosen)}
        width = max(map(len, commands.values()))
        for model, command in commands.items():
            print(f"  {command:{width}}  {app.SYSTEMS[model]}")
        print()
    print(f"{len(found)} application{'s' * (len(found) != 1)}, {sum(len(app.SYSTEMS) for app in found.values())} systems. "
          "Each takes a verb:")
    for verb, text in cli.VERBS.items():
        print(f"  {verb:8}  {text}")
    print("\npython -m apps.TASK --help  its settings\n"
          "python -m apps runs         lists, compares and prunes runs and exports\n"
          "python -m apps doctor       says what this machine has, and what is missing")


def main(arguments):
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    with cli.sentences(debug="--debug" in arguments):
        if verb == "runs":
            from training import runs

            runs.main(rest)
        elif verb == "doctor":
            from training import doctor

            sys.exit(doctor.main(rest))
        elif verb in ("", "-h", "--help"):
            show()
        else:
            task = verb if verb in catalogue() else "TASK"
            raise UserError("python -m apps takes runs or doctor, or nothing for the catalogue; "
                            f"an application is python -m apps.{task}")


if __name__ == "__main__":
    main(sys.argv[1:])
