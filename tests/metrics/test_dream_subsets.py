import shutil
from pathlib import Path

import pytest
from support import small_challenge

from camformer_tf import errors
from camformer_tf.metrics import dream_subsets


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    return small_challenge.write(tmp_path)


def test_the_private_phase_is_what_is_not_public(folders):
    members = dream_subsets.members("private", small_challenge.SEQUENCES, *folders)
    public = {0, 1, 2, 8, 9, 10, 20, 21, 22, 5, 6, 7, 3, 4, 30}  # pairs' positions too
    assert set(members.positions["all"]) == set(range(40)) - public
    assert members.positions["high"].tolist() == []
    assert members.positions["motif_tiling"].tolist() == [[8, 2], [30, 4]]
    assert [0, 1] not in members.positions["snv"].tolist()
    assert [2, 3] in members.positions["snv"].tolist()  # of public positions, but not a public pair


def test_the_recovered_pairs_replace_missing_official_ones_and_are_named(folders):
    official = folders[0] / "all_SNVs_seqs.csv"
    members = dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None)
    assert (members.snv_list, members.missing) == ("official", {})
    shutil.copy(official, folders[0] / dream_subsets.RECOVERED_FILE)
    assert (
        dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None).snv_list
        == "official"
    )
    official.unlink()
    members = dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None)
    assert (members.snv_list, members.missing) == ("recovered", {})
    (folders[0] / dream_subsets.RECOVERED_FILE).unlink()
    members = dream_subsets.members("full", small_challenge.SEQUENCES, folders[0], None)
    assert (members.snv_list, members.missing) == ("none", {"snv": "all_SNVs_seqs.csv"})


def refusal(folders, file, text) -> str:
    """Returns the message on a file with this text."""
    (folders["json" in file] / file).write_text(text)
    with pytest.raises(errors.UserError) as info:
        dream_subsets.members("private", small_challenge.SEQUENCES, *folders)
    return str(info.value)


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        (
            "high_exp_seqs.csv",
            "tag,sequence\nx,ACGT\n",
            "high_exp_seqs.csv:1: expected a column",
        ),
        ("high_exp_seqs.csv", "pos\n40\n", "high_exp_seqs.csv:2: position 40 is not among 40 rows"),
        ("high_exp_seqs.csv", "pos\n-1\n", "position -1 is not among"),
        ("high_exp_seqs.csv", "pos\n1.5\n", "position '1.5' is not a number"),
        ("high_exp_seqs.csv", "sequence,pos\nACGT,7\n", "position 7 is ACGT…, but the"),
        ("all_SNVs_seqs.csv", "alt_pos,pos\n1,2\n", "expected a column ref_pos"),
        ("high_exp_indices.json", '{"1,2": 0}', "expected keys such as 7, found '1,2'"),
        ("SNVs_exp_indices.json", '{"1": 0}', "expected keys such as 7,9, found '1'"),
        ("ground.json", '{"99": 0}', "position 99 is not among 40 rows"),
        ("ground.json", "[1]", 'expected {"position": value'),
        ("ground.json", "{", "cannot be read"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(folders, file, text, message):
    assert message in refusal(folders, file, text)


def test_a_phase_names_the_folder_that_it_needs(folders, tmp_path):
    for arguments, message in [
        (("full", small_challenge.SEQUENCES, None, None), "--dream"),
        (("private", small_challenge.SEQUENCES, folders[0], None), "--leaderboard"),
        (("public", small_challenge.SEQUENCES, folders[0], None), "--leaderboard"),
        (("full", small_challenge.SEQUENCES, tmp_path / "absent", None), "absent: no such folder"),
    ]:
        with pytest.raises(errors.UserError, match=message):
            dream_subsets.members(*arguments)


def test_only_the_public_phase_is_available_without_sequences(folders):
    members = dream_subsets.members("public", None, None, folders[1])
    assert members.positions["high"].tolist() == [0, 1, 2]
    with pytest.raises(errors.UserError, match="only the public phase can be scored without seq"):
        dream_subsets.members("full", None, folders[0], None)
