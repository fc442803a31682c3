/*
 * From the PVH entry (32-bit, flat, no paging) to C: long mode when built for x86-64, protected mode with
 * 4 MiB pages when built for i386.
 */
        .section .note.Xen, "a", @note
        .long 4, 4, 18
        .asciz "Xen"
        .long pvh_start
#ifdef BSD_SYMTAB
        .long 4, 4, 11
        .asciz "Xen"
        .asciz "yes"
#endif

        .section .text.start, "ax", @progbits
        .code32
        .globl pvh_start
        .type pvh_start, @function
pvh_start:
        cld
        mov     $stack_top, %esp
        mov     %ebx, start_info
        lgdt    gdt_pointer

#ifdef __x86_64__
        mov     $page_directory, %edi
        mov     $0x83, %eax
        mov     $512, %ecx
1:      mov     %eax, (%edi)
        add     $0x200000, %eax
        add     $8, %edi
        loop    1b
        movl    $page_directory + 3, page_pointers
        movl    $page_pointers + 3, page_root

        mov     $0x20, %eax
        mov     %eax, %cr4
        mov     $page_root, %eax
        mov     %eax, %cr3
        mov     $0xc0000080, %ecx
        rdmsr
        or      $0x100, %eax
        wrmsr
        mov     %cr0, %eax
        or      $0x80010000, %eax
        mov     %eax, %cr0
        ljmp    $0x08, $long_mode

        .code64
long_mode:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        mov     $stack_top, %rsp
        xor     %ebp, %ebp
        call    guest_main
1:      hlt
        jmp     1b
#else
        mov     $page_root, %edi
        mov     $0x83, %eax
        mov     $1024, %ecx
1:      mov     %eax, (%edi)
        add     $0x400000, %eax
        add     $4, %edi
        loop    1b

        mov     $0x10, %eax
        mov     %eax, %cr4
        mov     $page_root, %eax
        mov     %eax, %cr3
        mov     %cr0, %eax
        or      $0x80010000, %eax
        mov     %eax, %cr0
        ljmp    $0x08, $protected_mode
protected_mode:
        mov     $0x10, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        xor     %ebp, %ebp
        call    guest_main
1:      hlt
        jmp     1b
#endif
        .size pvh_start, . - pvh_start

        .section .data
        .balign 8
gdt:    .quad 0
#ifdef __x86_64__
        .quad 0x00af9b000000ffff
#else
        .quad 0x00cf9b000000ffff
#endif
        .quad 0x00cf93000000ffff
gdt_pointer:
        .word gdt_pointer - gdt - 1
        .long gdt
        .globl start_info
start_info:
        .long 0

        .section .bss
        .balign 4096
        .globl hypercall_page
hypercall_page:
        .skip 4096
page_root:
        .skip 4096
page_pointers:
        .skip 4096
page_directory:
        .skip 4096
        .skip 65536
stack_top:

        .section .note.GNU-stack, "", @progbits
