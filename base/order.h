/* order.h: comparisons for qsort and bsearch, ascending. */
#ifndef AMEND_BASE_ORDER_H
#define AMEND_BASE_ORDER_H

int order_u64(const void *a, const void *b);
int order_double(const void *a, const void *b); /* not of NaN */

#endif
