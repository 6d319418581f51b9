"""What is shown in a booted Debian, in order; each check leaves the service as it found it."""

import sys

from attacked import (
    no_socket_of_roots_lies_in_the_services_directory,
    root_gives_no_file_away_through_a_link,
    root_restores_nothing_of_roots_by_a_name_of_the_services,
)
from broken import (
    a_disk_that_becomes_read_only_is_survived,
    a_full_disk_is_survived,
    a_step_of_the_clock_is_survived,
    too_few_descriptors_are_survived,
    who_hangs_is_killed_and_replaced,
    who_hangs_is_killed_in_the_time_that_the_unit_says,
    who_is_killed_comes_back_and_nothing_is_lost,
)
from fronted import (
    a_reload_of_nginx_under_load_cuts_no_call,
    health_and_figures_are_shown_to_whom_they_are_for,
    nothing_secret_is_in_a_log,
    the_journal_has_fields_and_json_when_asked,
    the_sample_of_a_balancer_works,
    the_sample_with_tls_works,
    who_logs_in_too_often_is_told_to_wait,
)
from installed import (
    a_backup_is_restored,
    a_cold_start_answers_soon,
    a_purge_leaves_nothing,
    a_removal_and_a_purge_leave_an_nginx_that_starts,
    a_stop_under_load_cuts_no_call,
    a_worker_more_takes_its_share,
    another_key_is_used_after_a_restart,
    every_setting_is_in_the_environment_file_at_its_default,
    memory_is_small,
    memory_is_small_after_30_idle_seconds,
    old_rows_go_by_the_timer,
    the_events_are_read_and_counted,
    the_package_is_installed_in_an_empty_debian,
    the_state_says_what_is_in_flight,
    the_units_are_sound_and_confined,
)
from machine import Results, step
from replaced import (
    a_bad_program_stops_nobody,
    a_bad_setting_stops_nobody_and_is_named,
    a_downgrade_and_another_upgrade_under_load_lose_nothing,
    a_name_that_is_no_setting_stops_the_start_and_is_named,
    a_rolling_restart_under_load_loses_nothing,
    a_second_restart_waits_its_turn,
    an_upgrade_from_a_bell_in_the_state_directory_loses_nothing,
    an_upgrade_under_load_loses_nothing,
    reloads_during_a_restart_become_one_more,
    two_more_restarts_under_load_lose_nothing,
)

# Those with a mark take long and show no more than the others, or the same again.
WHOLE = "--whole" in sys.argv
CHECKS = [
    the_package_is_installed_in_an_empty_debian,
    a_cold_start_answers_soon,
    memory_is_small,
    (memory_is_small_after_30_idle_seconds,),
    the_state_says_what_is_in_flight,
    health_and_figures_are_shown_to_whom_they_are_for,
    a_rolling_restart_under_load_loses_nothing,
    (two_more_restarts_under_load_lose_nothing,),
    an_upgrade_under_load_loses_nothing,
    (a_downgrade_and_another_upgrade_under_load_lose_nothing,),
    (an_upgrade_from_a_bell_in_the_state_directory_loses_nothing,),
    a_second_restart_waits_its_turn,
    reloads_during_a_restart_become_one_more,
    a_bad_setting_stops_nobody_and_is_named,
    a_name_that_is_no_setting_stops_the_start_and_is_named,
    a_bad_program_stops_nobody,
    who_is_killed_comes_back_and_nothing_is_lost,
    who_hangs_is_killed_and_replaced,
    (who_hangs_is_killed_in_the_time_that_the_unit_says,),
    a_full_disk_is_survived,
    (a_disk_that_becomes_read_only_is_survived,),
    (a_step_of_the_clock_is_survived,),
    (too_few_descriptors_are_survived,),
    the_units_are_sound_and_confined,
    old_rows_go_by_the_timer,
    every_setting_is_in_the_environment_file_at_its_default,
    a_worker_more_takes_its_share,
    another_key_is_used_after_a_restart,
    a_backup_is_restored,
    root_gives_no_file_away_through_a_link,
    no_socket_of_roots_lies_in_the_services_directory,
    root_restores_nothing_of_roots_by_a_name_of_the_services,
    the_events_are_read_and_counted,
    who_logs_in_too_often_is_told_to_wait,
    the_sample_of_a_balancer_works,
    the_sample_with_tls_works,
    a_reload_of_nginx_under_load_cuts_no_call,
    the_journal_has_fields_and_json_when_asked,
    a_stop_under_load_cuts_no_call,
    nothing_secret_is_in_a_log,
    a_removal_and_a_purge_leave_an_nginx_that_starts,
    a_purge_leaves_nothing,
]

only = [name for name in sys.argv[1:] if not name.startswith("-")]
for check in CHECKS:
    [body] = check if isinstance(check, tuple) else [check]
    always = body in (the_package_is_installed_in_an_empty_debian, a_cold_start_answers_soon)
    if only and not always:
        chosen = any(name in body.__name__ for name in only)
    else:
        chosen = WHOLE or body is check
    if chosen:
        step(body)
print(f"inside: {Results.failed} failed" if Results.failed else "inside: all passed", flush=True)
