/* process.h: what the system says of this process. Any thread. */
#ifndef AMEND_BASE_PROCESS_H
#define AMEND_BASE_PROCESS_H

#include <stdint.h>

uint64_t process_resident_bytes(void); /* memory that is there now; 0 where /proc does not say */

#endif
