"""Bad inputs and who holds each of them off: the map from the list of hostile requests to the tests.

A row's number is that of the list; its words are short for what arrives. Each test named here is looked for, so that
the map does not outlive what it maps to.
"""

import ast
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent

WAY, UNREAD, FLOOD = "attack/test_whole_way.py", "attack/test_unread.py", "attack/test_flood.py"
CONTENT, BODY, DOOR = "intake/test_content.py", "intake/test_body.py", "intake/test_door.py"
REFUSALS, GUESSING = "intake/test_refusals.py", "attack/test_guessing.py"
SERVER, MALFORMED, LIMITS = "test_server.py", "test_server_malformed.py", "test_server_limits.py"
RECORD, BODIES, KEYS = "storage/test_record.py", "vendors/test_bodies.py", "api/test_keys.py"

Row = tuple[str, tuple[str, ...]]

VENDORS: dict[int, Row] = {
    1: ("an empty body, a probe", (
        f"{WAY}::test_an_empty_body_is_quarantine_and_a_probe_by_head_nothing",
        f"{DOOR}::test_a_probe_by_head_succeeds_and_leaves_nothing",
    )),
    2: ("a method that the vendor never uses", (
        f"{WAY}::test_a_method_that_no_vendor_uses_is_405_with_those_that_are",
        f"{DOOR}::test_a_method_that_no_vendor_uses_is_answered_with_those_that_are",
    )),
    3: ("a body over the limit", (
        f"{LIMITS}::test_a_body_above_the_limit_is_413_even_for_a_client_that_sends_before_it_reads",
        f"{LIMITS}::test_a_client_that_talks_on_after_its_413_is_cut_off",
        f"{LIMITS}::test_with_expect_a_body_above_the_limit_is_refused_before_it_is_sent",
        f"{UNREAD}::test_a_body_that_nobody_wants_is_not_kept_in_memory",
        f"{BODY}::test_a_length_beyond_the_limit_is_refused_before_anything_is_read",
    )),
    4: ("a length that is not the body's", (
        f"{LIMITS}::test_a_body_that_does_not_come_is_408_and_nothing_is_kept",
        f"{MALFORMED}::test_bytes_behind_the_body_get_400_after_the_request_has_its_answer",
        f"{MALFORMED}::test_surplus_that_comes_later_closes_the_connection_too",
    )),
    5: ("two lengths, a giant chunk", (
        f"{MALFORMED}::test_what_could_be_read_two_ways_is_refused_and_nothing_is_kept",
        f"{MALFORMED}::test_a_bad_body_behind_a_good_request_spoils_only_itself",
    )),
    6: ("2 MB of head, 10,000 fields, requests far ahead of their answers", (
        f"{LIMITS}::test_a_head_within_the_limit_is_taken_and_one_above_it_is_not",
        f"{LIMITS}::test_a_head_without_end_is_cut_off_and_takes_no_memory",
        f"{LIMITS}::test_trailers_without_end_are_cut_off",
        f"{UNREAD}::test_a_head_of_many_fields_is_refused_whole_or_not",
        f"{UNREAD}::test_requests_sent_far_ahead_are_answered_up_to_a_number",
    )),
    7: ("idle, slow heads, dripping bodies, answers nobody reads", (
        f"{FLOOD}::test_slow_heads_and_dripping_bodies_are_closed_and_honest_requests_are_served",
        f"{FLOOD}::test_a_flood_beyond_every_place_does_not_lock_honest_clients_out",
        f"{LIMITS}::test_who_does_not_finish_a_head_is_let_go",
        f"{LIMITS}::test_a_head_that_drips_is_let_go_while_others_are_served",
        f"{LIMITS}::test_a_body_that_nobody_wants_does_not_hold_its_connection_for_ever",
        f"{UNREAD}::test_answers_that_nobody_reads_end_the_connection",
        f"{UNREAD}::test_a_body_to_the_api_that_drips_ends_some_time",
    )),
    8: ("a wrong content type", (
        f"{WAY}::test_a_wrong_content_type_does_not_cost_a_message",
        f"{CONTENT}::test_mislabelled_and_odd_forms_are_read_all_the_same",
    )),
    9: ("a body that inflates", (
        f"{WAY}::test_an_inflating_body_is_415_and_costs_no_memory",
        f"{REFUSALS}::test_an_encoded_body_is_refused",
    )),
    10: ("JSON deep, infinite, endless", (
        f"{CONTENT}::test_what_cannot_be_read_is_kept_told_once_and_answered_with_success",
        f"{BODIES}::test_json_out_of_bounds_is_refused",
    )),
    11: ("2^64 as an id", (f"{CONTENT}::test_large_numbers_are_kept_as_they_came",)),
    12: ("a key or field twice", (
        f"{CONTENT}::test_mislabelled_and_odd_forms_are_read_all_the_same",
        f"{BODIES}::test_the_last_of_duplicate_keys_wins",
        f"{BODIES}::test_of_a_repeated_form_field_the_first_counts_and_all_are_kept",
    )),
    13: ("a byte order mark, UTF-16", (
        f"{CONTENT}::test_mislabelled_and_odd_forms_are_read_all_the_same",
        f"{CONTENT}::test_what_cannot_be_read_is_kept_told_once_and_answered_with_success",
    )),
    14: ("bytes that are not UTF-8", (
        f"{CONTENT}::test_a_form_is_read_in_the_charset_its_bytes_are_of",
        f"{CONTENT}::test_bytes_that_are_not_utf_8_in_json_are_guessed_and_flagged",
    )),
    15: ("a lone surrogate, NUL", (
        f"{CONTENT}::test_a_text_is_kept_as_it_is_and_only_what_no_database_takes_is_replaced",
    )),
    16: ("emoji, right to left, 1,600 characters", (
        f"{CONTENT}::test_a_text_is_kept_as_it_is_and_only_what_no_database_takes_is_replaced",
        "test_observe.py::test_nothing_can_break_a_line_or_turn_its_direction",
    )),
    17: ("injections", (
        f"{CONTENT}::test_a_text_is_kept_as_it_is_and_only_what_no_database_takes_is_replaced",
        "test_observe.py::test_a_forged_field_stays_inside_its_quotes",
    )),
    18: ("no message id", (
        f"{CONTENT}::test_a_message_without_an_id_is_kept_and_says_so",
        "sms/test_identity.py::test_some_ids_say_that_there_is_none",
    )),
    19: ("the same request twice, and fifty times at once", (
        f"{WAY}::test_the_same_request_in_turn_and_fifty_times_at_once_is_one_event",
        f"{RECORD}::test_fifty_identical_requests_at_once_are_one_event_and_all_succeed",
    )),
    20: ("the same id with another text", (
        f"{RECORD}::test_the_same_id_with_another_text_is_a_conflict_that_is_told_once",
    )),
    21: ("reports in any order", (
        f"{RECORD}::test_reports_in_any_order_all_become_events_and_lead_to_one_state",
        "sms/test_state.py::test_any_order_and_any_repetition_of_the_same_reports_ends_in_the_same_state",
    )),
    22: ("a status that nobody knows", (f"{CONTENT}::test_a_status_nobody_knows_is_an_event_with_the_vendors_word",)),
    23: ("senders of every kind", (
        f"{CONTENT}::test_a_sender_of_any_kind_is_a_typed_address",
        f"{CONTENT}::test_no_sender_is_none",
        "sms/test_address.py::test_a_raw_party_has_the_kind_that_is_certain",
    )),
    24: ("times of every kind", (
        f"{CONTENT}::test_a_time_that_cannot_be_trusted_is_null_and_ours_stands",
        "vendors/test_times.py::test_a_wall_time_that_the_clock_change_skips_or_repeats_is_not_known",
        "vendors/test_times.py::test_the_ends_of_the_calendar_are_no_error",
    )),
    25: ("parts of a long message: impossible, missing, repeated, in any order", (
        "intake/test_assemble.py::test_an_impossible_part_is_told_of_at_once",
        "intake/test_assemble.py::test_one_that_is_never_completed_is_one_event_after_its_time",
        "intake/test_assemble_any_order.py::test_whatever_the_order_the_repeats_and_the_gaps_each_message_stands_once",
        "intake/test_assemble_killed.py::test_parts_survive_kills_in_any_order_with_repeats_and_gaps",
        "vendors/test_mapping.py::test_an_impossible_part_is_a_message_of_its_own",
        "sms/test_compose.py::test_a_part_of_an_absurd_total_names_no_more_than_255_missing",
    )),
    26: ("a batch of none, one, a thousand", (
        f"{WAY}::test_a_batch_is_taken_whole_but_for_what_is_bad_in_it",
        f"{CONTENT}::test_one_bad_item_of_a_thousand_spoils_no_other",
        f"{CONTENT}::test_an_empty_list_is_knowingly_nothing",
    )),
    27: ("an item that is no object", (
        f"{CONTENT}::test_one_bad_item_of_a_thousand_spoils_no_other",
        f"{CONTENT}::test_what_cannot_be_read_is_kept_told_once_and_answered_with_success",
        "intake/test_any_bytes.py::test_any_request_is_an_event_quarantine_or_a_refusal",
    )),
    28: ("XML with entities", (
        f"{CONTENT}::test_what_cannot_be_read_is_kept_told_once_and_answered_with_success",
        f"{BODIES}::test_xml_is_not_interpreted",
    )),
    29: ("10,000 parts, a path as a file's name, 20,000 fields", (
        f"{WAY}::test_a_hostile_form_is_quarantine_and_touches_no_file",
        f"{CONTENT}::test_a_name_of_a_file_touches_none",
    )),
    30: ("a signature that is wrong in any way, an empty secret", (
        f"{REFUSALS}::test_a_right_signature_over_an_altered_body_is_refused",
        f"{REFUSALS}::test_the_right_secret_passes_and_two_prove_nothing",
        "vendors/test_signatures.py::test_a_signature_bent_in_any_way_is_refused",
        "vendors/test_signatures.py::test_an_empty_secret_is_not_no_secret",
        "api/test_sources.py::test_a_source_that_cannot_be_is_refused_with_its_place",
        f"{GUESSING}::test_a_vendor_without_proof_is_429_after_a_burst_and_with_proof_always_served",
    )),
    32: ("a token that is nearly right", (
        f"{WAY}::test_a_token_is_right_to_the_letter_or_not_at_all",
        f"{DOOR}::test_any_other_address_is_not_found",
        f"{DOOR}::test_doubled_and_trailing_slashes_are_served_not_redirected",
    )),
    33: ("a forged X-Forwarded-For", (
        f"{WAY}::test_a_forged_forwarded_for_follows_the_rule_of_trusted_proxies",
        f"{GUESSING}::test_a_forged_forwarded_for_does_not_make_one_peer_many",
        "intake/test_proxies.py::test_only_a_trusted_proxy_is_believed_and_only_about_the_nearest_stranger",
        "test_settings.py::test_everybody_is_trusted_only_when_spelled_out_as_a_star",
    )),
    34: ("a Host that is garbage, absent or another's", (
        f"{SERVER}::test_the_host_header_means_nothing_here",
        f"{SERVER}::test_the_target_may_name_a_host_that_is_ignored",
        f"{DOOR}::test_the_url_that_vendors_sign_is_the_public_one_whatever_a_proxy_kept",
    )),
    35: ("another protocol on the port", (
        f"{MALFORMED}::test_what_is_not_http_1_gets_400_without_a_trace_in_the_log",
        f"{MALFORMED}::test_http_0_9_is_answered_and_closed",
        f"{MALFORMED}::test_an_offer_of_another_protocol_is_ignored_and_the_message_is_kept",
        f"{SERVER}::test_a_header_more_does_not_cost_a_message",
    )),
    36: ("a client that leaves", (
        f"{MALFORMED}::test_a_client_that_leaves_in_the_middle_leaves_no_trace_in_the_log",
        f"{WAY}::test_what_is_committed_after_its_client_left_stays_and_its_retry_is_a_duplicate",
        f"{BODY}::test_a_client_that_leaves_before_its_body_is_whole_leaves_nothing",
    )),
}  # fmt: skip

API: dict[int, Row] = {
    38: ("a limit or cursor that cannot be", (
        "api/test_events.py::test_a_parameter_that_cannot_be_is_refused_with_its_place",
        "api/test_events.py::test_a_cursor_of_another_list_or_order_or_a_forged_one_is_refused",
        "api/test_events.py::test_a_cursor_whose_position_is_none_is_refused",
        "api/test_purged.py::test_a_cursor_of_a_purged_position_is_410",
        "api/test_bounds.py::test_no_list_takes_a_limit_that_is_none",
        "api/test_bounds.py::test_no_list_takes_a_cursor_that_it_did_not_give",
    )),
    39: ("an Idempotency-Key again, with another body, at the same time", (
        "api/test_idempotency.py::test_the_same_request_again_gets_the_same_answer_and_makes_nothing",
        "api/test_idempotency.py::test_the_same_key_with_another_request_is_refused",
        "api/test_idempotency.py::test_of_many_at_once_one_is_carried_out",
    )),
    40: ("too many, too long", (
        "api/test_subscriptions.py::test_there_is_an_end_to_the_number_of_subscriptions_even_for_many_at_once",
        "api/test_sources.py::test_there_is_an_end_to_the_number_of_sources",
        "api/test_edges.py::test_a_body_over_the_limit_is_refused_with_and_without_a_length",
        "api/test_edges.py::test_a_million_mistakes_make_a_bounded_answer",
        "api/test_bounds.py::test_every_text_and_list_of_a_body_has_an_end_that_the_document_names",
        "api/test_bounds.py::test_a_description_of_a_megabyte_and_ten_thousand_types_are_refused",
    )),
    41: ("headers that are not the subscriber's", (
        "delivery/test_headers.py::test_headers_that_are_not_the_subscribers_are_refused_by_name",
        "delivery/test_headers.py::test_a_value_that_cannot_be_sent_is_refused_without_showing_it",
    )),
    42: ("keys that are none", (
        f"{KEYS}::test_without_a_valid_key_nothing_is_told",
        f"{KEYS}::test_a_key_in_the_url_is_refused_even_beside_a_good_header",
        f"{KEYS}::test_a_revoked_key_is_refused_at_once_and_stays_listed",
        f"{KEYS}::test_each_scope_may_do_its_own_and_what_it_implies",
        f"{GUESSING}::test_wrong_keys_are_429_after_a_burst_while_the_right_one_is_always_served",
    )),
    43: ("erasing an unknown number", (
        "api/test_subjects.py::test_an_unknown_number_gets_the_same_answer_by_the_same_way",
        "api/test_subjects.py::test_erasing_whom_nobody_knows_changes_nothing",
    )),
}  # fmt: skip

LATER = {31: "no vendor that is spoken signs the time"}
"""Rows about what is not there. 37 and 44 are of the way out, and mapped with it."""


@pytest.mark.parametrize(
    "test", sorted({test for _, tests in (*VENDORS.values(), *API.values()) for test in tests})
)  # fmt: skip
def test_a_test_that_the_map_names_is_there(test: str):
    path, _, name = test.partition("::")
    assert name in found_in(path)


@cache
def found_in(path: str) -> frozenset[str]:
    tree = ast.parse((HERE / path).read_text("utf-8"))
    found = (node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in found if name.startswith("test_"))


def test_every_row_about_vendors_is_held_or_says_why_not():
    assert {*VENDORS, *LATER} >= set(range(1, 37))
    assert not {*VENDORS, *API} & set(LATER)
    assert all(tests for _, tests in (*VENDORS.values(), *API.values()))


def test_a_name_that_is_no_test_would_be_found():
    assert "test_a_name_that_is_no_test_would_be_found" in found_in("test_hostile_rows.py")
    assert "test_that_was_never_written" not in found_in("test_hostile_rows.py")
