"""Damaged files against the commands that read them: each ends well or with one sentence."""
from benchmarks import damaged_files


def test_damaged_files_are_refused_in_one_sentence(tmp_path):
    report = damaged_files.check(tmp_path, 8, 0, only=("voc annotations", "coco annotations"))
    assert not report.failures and report.counts["refused"] > 2


def test_a_fault_of_a_command_is_found(tmp_path):
    """An exception that no sentence of ours replaces, another exit code, or several lines are failures."""
    from training import cli

    def raising(error):
        def command(folder):
            with cli.sentences():
                raise error
        return command

    (tmp_path / "given").mkdir()
    (tmp_path / "given" / "a.txt").write_text("a")
    for error, expected in ((ValueError("x"), "failed"), (cli.settings.UserError("a.txt is damaged"), "refused"),
                            (cli.settings.UserError("two\nlines"), "failed"), (KeyboardInterrupt(), "failed")):
        case = damaged_files.Case(tmp_path / "given", "*", raising(error))
        assert damaged_files.outcome(case, tmp_path / "copy")[0] == expected
