"""Wrong logs for the rules of stability: somebody is left out, or the ring changes for nothing."""

from __future__ import annotations

from judge_logs import Logs, Script, breaks, stretch

from ringproto.events import RegularConfiguration, TransitionalConfiguration


def _formed(*nodes: int) -> Script:
    """One ring of these (formation ``len(nodes) + 1``), and what the barrier and a message of the first make."""
    script = Script()
    script.start(*nodes)
    script.install(*nodes)
    script.recover(*nodes)
    script.send(nodes[0])
    script.deliver_all(*nodes)
    return script


def _leave_3_out(script: Script) -> None:
    script.install(1, 2)
    script.install(3)
    script.recover(1, 2)
    script.recover(3)


def _form_anew(script: Script) -> None:
    script.install(1, 2, 3)
    script.recover(1, 2, 3)


@breaks("B21", stretches=stretch(1, 2, 3, formation=4, kept=True, changes_max=2))
def live_member_is_left_out_and_comes_back() -> Logs:
    """What a successor that is thrown out after one unanswered copy of the token looks like, and one whom an old
    suspicion finds again."""
    script = _formed(1, 2, 3)
    _leave_3_out(script)
    _form_anew(script)
    return script.logs()


@breaks("B21", stretches=stretch(1, 2, 3, formation=4, kept=True, changes_max=1))
def processor_that_stood_still_judges_the_others_dead() -> Logs:
    """3 alone goes on without the others, who have lost it too."""
    script = _formed(1, 2, 3)
    script.install(1, 2)
    script.recover(1, 2)
    script.install(3)
    script.recover(3)
    return script.logs()


@breaks("B21", stretches=stretch(1, 2, formation=4, kept=True, changes_max=1))
def those_who_stay_were_apart_on_the_way() -> Logs:
    """The next regular configuration has both; the transitional one of 1 says that it comes to it without 2."""
    script = _formed(1, 2, 3)
    script.transitional(1, 1)
    script.install(1, 2, 3, only=(1,))
    return script.logs()


@breaks("B21", stretches=stretch(1, 2, 3, formation=4, kept=True, changes_max=1))
def member_stops_though_nobody_told_it_to() -> Logs:
    script = _formed(1, 2, 3)
    script.stop(3)
    return script.logs()


@breaks("B21", stretches=stretch(1, 2, 3, formation=4, kept={1, 2}, changes_max=2))
def end_of_a_bad_link_takes_another_one_with_it() -> Logs:
    """3 may be out; 2 may not."""
    script = _formed(1, 2, 3)
    script.install(1)
    script.install(2, 3)
    script.recover(1)
    script.recover(2, 3)
    return script.logs()


@breaks("B21", stretches=stretch(1, 2, 3, formation=4, kept=True, changes_max=9, left_out_max=1))
def more_is_lost_and_a_member_is_left_out_twice() -> Logs:
    script = _formed(1, 2, 3)
    for _ in range(2):
        _leave_3_out(script)
        _form_anew(script)
    return script.logs()


@breaks("B21", stretches=stretch(1, 2, 3, formation=4, kept={1, 2}, changes_max=1))
def end_of_a_bad_link_stops() -> Logs:
    """It may be out, but it has to live."""
    script = _formed(1, 2, 3)
    script.stop(3)
    return script.logs()


@breaks("stability", stretches=stretch(1, 2, 3, formation=4, kept={1, 2}, changes_max=2))
def end_that_is_out_forms_alone_again_and_again() -> Logs:
    script = _formed(1, 2, 3)
    _leave_3_out(script)
    for _ in range(2):
        script.install(3)
        script.recover(3)
    return script.logs()


@breaks("stability", stretches=stretch(1, 2, 3, formation=4, kept=True, changes_max=0))
def ring_forms_again_for_nothing() -> Logs:
    """What a late beacon of a member makes: all stay, and the ring is another one."""
    script = _formed(1, 2, 3)
    _form_anew(script)
    return script.logs()


@breaks("stability", stretches=stretch(1, 2, 3, formation=4, kept=False, changes_max=2))
def member_behind_a_bad_link_comes_and_goes() -> Logs:
    """It may be out, and in once more; not out again."""
    script = _formed(1, 2, 3)
    for _ in range(2):
        _leave_3_out(script)
        _form_anew(script)
    return script.logs()


def left_out_after_the_stretch() -> Logs:
    """Right: nobody asks for stability after formation 5, which has all of them, and within it nothing changes."""
    script = _formed(1, 2, 3)
    _form_anew(script)
    script.install(1, 2)
    script.recover(1, 2)
    script.install(3)
    script.recover(3)
    logs = script.logs()
    assert logs.at(1, TransitionalConfiguration, 2) < logs.at(1, RegularConfiguration, 3)
    return logs
