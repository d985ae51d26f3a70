"""``python -m lossforge_gp RUN``: print the loss that a run found, as it is, simplified, and in LaTeX."""

from __future__ import annotations

import sys

import click

from lossforge import load_loss
from lossforge.errors import ArtifactError, LossforgeError
from lossforge_gp.family import GPExpression
from lossforge_gp.symbolic import by_label, latex, rounded, simplified
from lossforge_gp.tree import decoded


def described(path: str) -> str:
    """Return the text on the loss in a run directory or artifact folder; no code from there is executed.

    Raises:
        ArtifactError: nothing is there that can be read, or the loss is of another family.
    """
    loss = load_loss(path)
    if not isinstance(loss.parameterization, GPExpression):
        raise ArtifactError(f"{path}: a loss of the family {loss.parameterization.type!r}; only gp_expression is text")
    tree = decoded(loss.solution[None])[0]
    label, other = (rounded(form) for form in by_label(tree))
    return "\n".join(
        (
            f"found        mean over c of {tree}",
            f"scale        {loss.scale.item():.6g}",
            f"simplified   {rounded(simplified(tree))}",
            f"  label      {label}",
            f"  others     {other}",
            f"LaTeX        {latex(tree)}",
        )
    )


@click.command()
@click.argument("run")
def main(run: str) -> None:
    """Print the loss found in RUN, a run directory or an artifact folder."""
    try:
        click.echo(described(run))
    except LossforgeError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
