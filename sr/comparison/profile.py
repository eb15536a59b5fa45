"""Compare the profiles of groups: where does each fall below bicubic interpolation if the input changes?"""

from sr.comparison.run import Table
from sr.profile.row import ProfileRow, average_profiles, describe_limits


def list_profiles(table: Table) -> dict[str, list[ProfileRow]]:
    """Return the profile of each group that was evaluated with `profile=…`, the mean over its runs that were."""
    groups = [row for row in table.rows if row.kind == "group"]
    profiles = {row.name: [score.profile for score in row.scores if score.profile] for row in groups}
    return {name: rows for name, of_runs in profiles.items() if (rows := average_profiles(of_runs))}


def add_profile_notes(table: Table) -> None:
    """Add a note for each group that has a profile."""
    table.notes += [describe_limits(name, rows) for name, rows in list_profiles(table).items()]
