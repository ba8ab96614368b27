"""`python -m apps`: the catalogue of applications; also `python -m apps runs …` and `python -m apps doctor`."""
import pkgutil
import sys

import apps
from training import UserError, cli, config
from training.app import App


def catalogue():
    """Returns {task: its App} of all applications, without importing TensorFlow."""
    return {task: App(task) for task in sorted(module.name for module in pkgutil.iter_modules(apps.__path__) if module.ispkg)}


def show():
    """Prints all applications with their systems and commands."""
    found = catalogue()
    for task, app in found.items():
        print(f"{task}: {app.doc.splitlines()[0]}")
        commands = {model: f"python -m apps.{task}" + (f" --model {model}" if number else "")
                    for number, model in enumerate(app.systems)}
        width = max(map(len, commands.values()))
        for model, command in commands.items():
            kind = app.systems[model]
            print(f"  {command:{width}}  {', '.join(kind.ID) or 'baseline'}: {config.title(kind)}")
        print()
    print(f"{len(found)} application{'s' * (len(found) != 1)}, {sum(len(app.systems) for app in found.values())} systems. "
          "Each application has these verbs:")
    for verb, text in cli.VERBS.items():
        print(f"  {verb:8}  {text}")
    print("\npython -m apps.TASK --help  shows the settings of an application\n"
          "python -m apps runs         lists, compares and prunes runs and exports\n"
          "python -m apps doctor       checks whether this machine has everything that the suite needs")


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
            raise UserError("`python -m apps` accepts only runs or doctor, and lists all applications without them; "
                            f"start an application with `python -m apps.{task}`")


if __name__ == "__main__":
    main(sys.argv[1:])
