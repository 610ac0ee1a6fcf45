"""What the broker forgets of the ledger, and what it never does: that a sandbox was given."""

import psycopg
import pytest

from acceptance.sandboxes.pool import Pool
from acceptance.suite.case import case
from acceptance.system.match import accepted, refused


@case("retention/001", "getSandbox 404", "allocateSandbox 201")
def test_the_ledger_forgets_and_the_pool_does_not(pool: Pool) -> None:
    """Ended allocations go after 90 days with their key; their sandboxes stay and are never given again (issue 13)."""
    pool.system.has_forgotten("allocations")
    pool.seed(3)
    forgotten, kept, _ = students = pool.students(3)
    old, young, held = (student.has("a key")["sandbox_id"] for student in students)
    accepted(forgotten.release(old))
    accepted(kept.release(young))
    pool.put(old, "deleted")
    for sandbox_id, days in ((old, 91), (young, 89), (held, 200)):
        pool.write(
            "update allocations set allocated_at = allocated_at - make_interval(days => %(days)s),"
            " ended_at = ended_at - make_interval(days => %(days)s) where sandbox_id = %(id)s",
            id=sandbox_id,
            days=days,
        )
    assert pool.system.forgets()["allocations"] == 1
    assert pool.system.db.rows("select 1 from allocations where sandbox_id = %s", old) == []
    assert pool.ledger(young)["end_reason"] == "released"
    assert pool.ledger(held)["ended_at"] is None
    assert pool.row(old)["first_allocated_at"] is not None
    refused(forgotten.look(old), 404, "sandbox_not_found")
    refused(kept.allocate("a key"), 410, "allocation_ended")
    with pytest.raises(psycopg.errors.CheckViolation, match="ck_sandboxes_given_once"):
        pool.put(old, "available")
    refused(forgotten.allocate("a key"), 409, "no_sandboxes_available")
    [another] = pool.seed()
    assert forgotten.has("a key")["sandbox_id"] == another
