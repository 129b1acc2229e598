/* tiny_fixture.h: the tiny model, open while the tests of a file run. */
#ifndef AMEND_TESTS_UNIT_EDITOR_TINY_FIXTURE_H
#define AMEND_TESTS_UNIT_EDITOR_TINY_FIXTURE_H

#include "tests/unit/editor/tiny.h"

static struct model *model;

static inline int open_tiny(void **state)
{
	(void)state;
	model = tiny_open();
	return 0;
}

static inline int close_tiny(void **state)
{
	(void)state;
	model_close(&model);
	return 0;
}

#endif
