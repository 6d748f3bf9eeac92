import pytest
from click import testing

from camformer_tf import cli, errors
from camformer_tf.training import options as fit_options


def test_the_defaults_are_valid_and_need_no_arguments():
    fit_options.FitOptions().check()
    assert fit_options.FitOptions().arguments() == []


def test_options_become_arguments_that_the_command_accepts():
    options = fit_options.FitOptions(
        strategy="one", devices=1, precision="float32", xla="off", steps_per_call=4,
        require_gpu=True, data="stream", checkpoint_steps=7, worker_timeout=60, resume=True,
        overwrite=True,
    )  # fmt: skip
    arguments = options.arguments()
    assert "--worker-timeout 60" in " ".join(arguments) and "--require-gpu" in arguments
    assert not {"--resume", "--overwrite"} & set(arguments)
    result = testing.CliRunner().invoke(cli.main, ["fit", *arguments, "--help"])
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(
    ("name", "value"),
    [("strategy", "two"), ("precision", "half"), ("xla", True), ("data", "disk"), ("devices", 0)],
)
def test_a_wrong_value_is_named(name, value):
    with pytest.raises(errors.UserError, match=f"{name}={value!r}: expected"):
        fit_options.FitOptions(**{name: value}).check()
