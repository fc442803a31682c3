namespace Introspect.Hypervisor.Tests.Abi;

/// <summary>
/// Where every field of every wire structure stands, by Xen's headers. A structure is a line
/// <c>Type size = C type</c>; its fields follow, indented, as <c>Field@offset:C path</c>. The C path is left out
/// where it is the field's name in lower case, and <c>-</c> where the headers of 4.17 have no such name.
/// </summary>
internal static class WireLayoutTable
{
    public const string VmEvents = """
        VmEvent 400 = vm_event_request_t
          Version@0 Flags@4 Reason@8 VcpuId@12:vcpu_id AltP2mIndex@16:altp2m_idx MemAccess@24:u.mem_access MemPaging@24:u.mem_paging
          MemSharing@24:u.mem_sharing WriteCtrlreg@24:u.write_ctrlreg
          MovToMsr@24:u.mov_to_msr SinglestepGfn@24:u.singlestep.gfn FastSinglestepView@24:u.fast_singlestep.p2midx
          Debug@24:u.software_breakpoint Cpuid@24:u.cpuid DescAccess@24:u.desc_access Interrupt@24:u.interrupt.x86 VmExit@24:u.vmexit
          VmExitVmx@24:u.vmexit.arch.vmx VmExitSvm@24:-
          Io@24:- Registers@56:data.regs.x86 EmulReadSize@56:data.emul.read.size EmulReadData@60:data.emul.read.data
          EmulInsnData@56:data.emul.insn.data
        VmEventMemAccess 32 = struct vm_event_mem_access
          Gfn@0 Offset@8 Gla@16 Flags@24
        VmEventPaging 16 = struct vm_event_paging
          Gfn@0 P2mType@8:p2mt Flags@12
        VmEventSharing 16 = struct vm_event_sharing
          Gfn@0 P2mType@8:p2mt
        VmEventWriteCtrlreg 24 = struct vm_event_write_ctrlreg
          Index@0 NewValue@8:new_value OldValue@16:old_value
        VmEventMovToMsr 24 = struct vm_event_mov_to_msr
          Msr@0 NewValue@8:new_value OldValue@16:old_value
        VmEventDebug 24 = struct vm_event_debug
          Gfn@0 PendingDbg@8:pending_dbg InsnLength@16:insn_length Type@20
        VmEventCpuid 16 = struct vm_event_cpuid
          InsnLength@0:insn_length Leaf@4 Subleaf@8
        VmEventDescAccess 24 = struct vm_event_desc_access
          InstrInfo@0:arch.vmx.instr_info ExitQualification@8:arch.vmx.exit_qualification Descriptor@16 IsWrite@17:is_write
        VmEventInterrupt 24 = struct vm_event_interrupt_x86
          Vector@0 Type@4 ErrorCode@8:error_code Cr2@16
        VmEventVmExit 16 = struct vm_event_vmexit
          ExitReason@0:arch.vmx.reason Qualification@8:arch.vmx.qualification
        VmEventVmxExit 16 = -
          Reason@0:- Qualification@8:-
        VmEventSvmExit 24 = -
          ExitCode@0:- ExitInfo1@8:- ExitInfo2@16:-
        VmEventIo 8 = -
          Bytes@0:- Port@4:- In@6:- StringOp@7:-
        VmEventSegment 4 = struct vm_event_x86_selector_reg
          Word@0:-
        VmEventRegisters 344 = struct vm_event_regs_x86
          Rax@0 Rcx@8 Rdx@16 Rbx@24 Rsp@32 Rbp@40 Rsi@48 Rdi@56 R8@64 R9@72 R10@80 R11@88 R12@96 R13@104 R14@112 R15@120 Rflags@128 Dr6@136
          Dr7@144 Rip@152 Cr0@160 Cr2@168 Cr3@176 Cr4@184 SysenterCs@192:sysenter_cs SysenterEsp@200:sysenter_esp
          SysenterEip@208:sysenter_eip MsrEfer@216:msr_efer MsrStar@224:msr_star MsrLstar@232:msr_lstar GdtrBase@240:gdtr_base
          NptBase@248:npt_base VmtracePos@256:vmtrace_pos CsBase@264:cs_base SsBase@268:ss_base DsBase@272:ds_base EsBase@276:es_base
          FsBase@280:fs_base GsBase@288:gs_base Cs@296 Ss@300 Ds@304 Es@308 Fs@312 Gs@316 ShadowGs@320:shadow_gs GdtrLimit@328:gdtr_limit
          CsSel@330:cs_sel SsSel@332:ss_sel DsSel@334:ds_sel EsSel@336:es_sel FsSel@338:fs_sel GsSel@340:gs_sel
        """;

    public const string Toolstack = """
        XenDomctl 144 = struct xen_domctl
          Command@0:cmd InterfaceVersion@4:interface_version Domain@8 CreateDomain@16:u.createdomain GetDomainInfo@16:u.getdomaininfo
          MaxMem@16:u.max_mem MaxVcpus@16:u.max_vcpus VcpuInfo@16:u.getvcpuinfo SetDomainHandle@16:u.setdomainhandle
          SetDebugging@16:u.setdebugging SetTimeOffset@16:u.settimeoffset SendTrigger@16:u.sendtrigger AddressSize@16:u.address_size
          HvmContext@16:u.hvmcontext HvmContextPartial@16:u.hvmcontext_partial TscInfo@16:u.tsc_info DebugOp@16:u.debug_op
          VmEventOp@16:u.vm_event_op MonitorOp@16:u.monitor_op AccessRequired@16:u.access_required
          GdbsxPauseVcpu@16:u.gdbsx_pauseunp_vcpu
        DomctlGdbsxPauseVcpu 4 = struct xen_domctl_gdbsx_pauseunp_vcpu
          Vcpu@0
        ArchDomainConfig 8 = struct xen_arch_domainconfig
          EmulationFlags@0:emulation_flags MiscFlags@4:misc_flags
        DomctlCreateDomain 64 = struct xen_domctl_createdomain
          SsidRef@0 Handle@4 Flags@20 IommuOpts@24:iommu_opts MaxVcpus@28:max_vcpus MaxEvtchnPort@32:max_evtchn_port
          MaxGrantFrames@36:max_grant_frames MaxMaptrackFrames@40:max_maptrack_frames GrantOpts@44:grant_opts VmtraceSize@48:vmtrace_size
          CpupoolId@52:cpupool_id Arch@56
        DomctlGetDomainInfo 112 = struct xen_domctl_getdomaininfo
          Domain@0 Flags@4 TotPages@8:tot_pages MaxPages@16:max_pages OutstandingPages@24:outstanding_pages ShrPages@32:shr_pages
          PagedPages@40:paged_pages SharedInfoFrame@48:shared_info_frame CpuTime@56:cpu_time NrOnlineVcpus@64:nr_online_vcpus
          MaxVcpuId@68:max_vcpu_id SsidRef@72 Handle@76 Cpupool@92 GpaddrBits@96:gpaddr_bits PauseCount@97:- ArchConfig@104:arch_config
        DomctlMaxMem 8 = struct xen_domctl_max_mem
          MaxMemKb@0:max_memkb
        DomctlMaxVcpus 4 = struct xen_domctl_max_vcpus
          Max@0
        DomctlVcpuInfo 24 = struct xen_domctl_getvcpuinfo
          Vcpu@0 Online@4 Blocked@5 Running@6 CpuTime@8:cpu_time Cpu@16
        DomctlSetDomainHandle 16 = struct xen_domctl_setdomainhandle
          Handle@0
        DomctlSetDebugging 1 = struct xen_domctl_setdebugging
          Enable@0
        DomctlSetTimeOffset 8 = struct xen_domctl_settimeoffset
          TimeOffsetSeconds@0:time_offset_seconds
        DomctlSendTrigger 8 = struct xen_domctl_sendtrigger
          Trigger@0 Vcpu@4
        DomctlAddressSize 4 = struct xen_domctl_address_size
          Size@0
        DomctlHvmContext 16 = struct xen_domctl_hvmcontext
          Size@0 Buffer@8
        DomctlHvmContextPartial 24 = struct xen_domctl_hvmcontext_partial
          Type@0 Instance@4 BufferSize@8:bufsz Buffer@16
        DomctlTscInfo 24 = struct xen_domctl_tsc_info
          TscMode@0:tsc_mode GuestTscKhz@4:gtsc_khz Incarnation@8 ElapsedNsec@16:elapsed_nsec
        DomctlDebugOp 8 = struct xen_domctl_debug_op
          Op@0 Vcpu@4
        DomctlSetAccessRequired 1 = struct xen_domctl_set_access_required
          AccessRequired@0:access_required
        DomctlVmEventOp 12 = struct xen_domctl_vm_event_op
          Op@0 Mode@4 EnablePort@8:u.enable.port Version@8:u.version
        DomctlMonitorOp 24 = struct xen_domctl_monitor_op
          Op@0 Event@4 MovToCr@8:u.mov_to_cr MovToMsr@8:u.mov_to_msr GuestRequest@8:u.guest_request
          DebugExceptionSync@8:u.debug_exception.sync VmExitSync@8:u.vmexit.sync IoAsync@8:-
        MonitorMovToCr 16 = -
          Index@0:- Sync@1:- OnChangeOnly@2:- BitMask@8:-
        MonitorMovToMsr 8 = -
          Msr@0:- OnChangeOnly@4:-
        MonitorGuestRequest 2 = -
          Sync@0:- AllowUserspace@1:-
        XenSysctl 136 = struct xen_sysctl
          Command@0:cmd InterfaceVersion@4:interface_version ReadConsole@8:u.readconsole PhysInfo@8:u.physinfo
          GetDomainInfoList@8:u.getdomaininfolist
        SysctlReadConsole 24 = struct xen_sysctl_readconsole
          Clear@0 Incremental@1 Index@4 Buffer@8 Count@16
        SysctlPhysInfo 112 = struct xen_sysctl_physinfo
          ThreadsPerCore@0:threads_per_core CoresPerSocket@4:cores_per_socket NrCpus@8:nr_cpus MaxCpuId@12:max_cpu_id NrNodes@16:nr_nodes
          MaxNodeId@20:max_node_id CpuKhz@24:cpu_khz Capabilities@28 ArchCapabilities@32:arch_capabilities TotalPages@40:total_pages
          FreePages@48:free_pages ScrubPages@56:scrub_pages OutstandingPages@64:outstanding_pages MaxMfn@72:max_mfn HwCap@80:hw_cap
        SysctlGetDomainInfoList 24 = struct xen_sysctl_getdomaininfolist
          FirstDomain@0:first_domain MaxDomains@4:max_domains Buffer@8 NumDomains@16:num_domains
        HvmParamArgument 16 = struct xen_hvm_param
          Domid@0 Index@4 Value@8
        HvmGetMemType 16 = struct xen_hvm_get_mem_type
          Domid@0 MemType@2:mem_type Pfn@8
        HvmGetTime 8 = struct xen_hvm_get_time
          Now@0
        HvmEvtchnUpcallVector 8 = struct xen_hvm_evtchn_upcall_vector
          Vcpu@0 Vector@4
        HvmAltP2mOp 80 = struct xen_hvm_altp2m_op
          Version@0 Command@4:cmd Domain@8 DomainState@16:u.domain_state.state EnableNotify@16:u.enable_notify
          DisableNotifyVcpu@16:u.disable_notify.vcpu_id View@16:u.view MemAccess@16:u.mem_access SetMemAccessMulti@16:u.set_mem_access_multi
          ChangeGfn@16:u.change_gfn SuppressVe@16:u.suppress_ve SuppressVeMulti@16:u.suppress_ve_multi VcpuP2mIndex@16:u.get_vcpu_p2m_idx
          Visibility@16:u.set_visibility
        AltP2mEnableNotify 16 = struct xen_hvm_altp2m_vcpu_enable_notify
          VcpuId@0:vcpu_id Gfn@8
        AltP2mView 4 = struct xen_hvm_altp2m_view
          View@0 DefaultAccess@2:hvmmem_default_access
        AltP2mMemAccess 16 = struct xen_hvm_altp2m_mem_access
          View@0 Access@2 Gfn@8
        AltP2mSetMemAccessMulti 32 = struct xen_hvm_altp2m_set_mem_access_multi
          View@0 Nr@4 Opaque@8 PfnList@16:pfn_list AccessList@24:access_list
        AltP2mChangeGfn 24 = struct xen_hvm_altp2m_change_gfn
          View@0 OldGfn@8:old_gfn NewGfn@16:new_gfn
        AltP2mSuppressVe 16 = struct xen_hvm_altp2m_suppress_ve
          View@0 SuppressVe@2:suppress_ve Gfn@8
        AltP2mSuppressVeMulti 32 = struct xen_hvm_altp2m_suppress_ve_multi
          View@0 SuppressVe@2:suppress_ve FirstError@4:first_error FirstGfn@8:first_gfn LastGfn@16:last_gfn FirstErrorGfn@24:first_error_gfn
        AltP2mVcpuIndex 8 = struct xen_hvm_altp2m_get_vcpu_p2m_idx
          VcpuId@0:vcpu_id AltP2mIndex@4:altp2m_idx
        AltP2mVisibility 4 = struct xen_hvm_altp2m_set_visibility
          AltP2mIndex@0:altp2m_idx Visible@2
        MemoryReservation 32 = struct xen_memory_reservation
          ExtentStart@0:extent_start NrExtents@8:nr_extents ExtentOrder@16:extent_order MemFlags@20:mem_flags Domid@24
        CompatMemoryReservation 20 = -
          ExtentStart@0:- NrExtents@4:- ExtentOrder@8:- MemFlags@12:- Domid@16:-
        MemoryDomain 2 = struct xen_memory_domain
          Domid@0
        AddToPhysmap 24 = struct xen_add_to_physmap
          Domid@0 Size@2 Space@4 Index@8:idx Gpfn@16
        CompatAddToPhysmap 16 = -
          Domid@0:- Size@2:- Space@4:- Index@8:- Gpfn@12:-
        AddToPhysmapBatch 32 = struct xen_add_to_physmap_batch
          Domid@0 Space@2 Size@4 ForeignDomid@6:u.foreign_domid Indexes@8:idxs Gpfns@16 Errors@24:errs
        RemoveFromPhysmap 16 = struct xen_remove_from_physmap
          Domid@0 Gpfn@8
        CompatRemoveFromPhysmap 8 = -
          Domid@0:- Gpfn@4:-
        MemoryMap 16 = struct xen_memory_map
          NrEntries@0:nr_entries Buffer@8
        ForeignMemoryMap 24 = struct xen_foreign_memory_map
          Domid@0 Map@8
        MemAccessOp 32 = struct xen_mem_access_op
          Op@0 Access@1 Domid@2 Nr@4 Pfn@8 PfnList@16:pfn_list AccessList@24:access_list
        MemSharingOp 48 = struct xen_mem_sharing_op
          Op@0 Domain@2 ForkParent@8:u.fork.parent_domain ForkFlags@10:u.fork.flags ForkPad@12:u.fork.pad
        XenDmOp 32 = struct xen_dm_op
          Op@0 InjectEvent@8:u.inject_event RemoteShutdownReason@8:u.remote_shutdown.reason NrVcpus@8:u.nr_vcpus.vcpus
        DmOpInjectEvent 24 = struct xen_dm_op_inject_event
          VcpuId@0 Vector@4 Type@5 InsnLength@6:insn_len ErrorCode@8:error_code Cr2@16
        """;

    public const string Guest = """
        HvmSaveDescriptor 8 = struct hvm_save_descriptor
          TypeCode@0 Instance@2 Length@4
        HvmHwMtrr 240 = struct hvm_hw_mtrr
          Pat@0:msr_pat_cr Variable@8:msr_mtrr_var Fixed@136:msr_mtrr_fixed Capabilities@224:msr_mtrr_cap DefaultType@232:msr_mtrr_def_type
        HvmSaveHeader 24 = struct hvm_save_header
          Magic@0 Version@4 Changeset@8 CpuId@16 GuestTscKhz@20:gtsc_khz
        HvmHwCpu 1032 = struct hvm_hw_cpu
          FpuRegs@0:fpu_regs Rax@512 Rbx@520 Rcx@528 Rdx@536 Rbp@544 Rsi@552 Rdi@560 Rsp@568 R8@576 R9@584 R10@592 R11@600 R12@608 R13@616
          R14@624 R15@632 Rip@640 Rflags@648 Cr0@656 Cr2@664 Cr3@672 Cr4@680 Dr0@688 Dr1@696 Dr2@704 Dr3@712 Dr6@720 Dr7@728
          CsSel@736:cs_sel DsSel@740:ds_sel EsSel@744:es_sel FsSel@748:fs_sel GsSel@752:gs_sel SsSel@756:ss_sel TrSel@760:tr_sel
          LdtrSel@764:ldtr_sel CsLimit@768:cs_limit DsLimit@772:ds_limit EsLimit@776:es_limit FsLimit@780:fs_limit GsLimit@784:gs_limit
          SsLimit@788:ss_limit TrLimit@792:tr_limit LdtrLimit@796:ldtr_limit IdtrLimit@800:idtr_limit GdtrLimit@804:gdtr_limit
          CsBase@808:cs_base DsBase@816:ds_base EsBase@824:es_base FsBase@832:fs_base GsBase@840:gs_base SsBase@848:ss_base
          TrBase@856:tr_base LdtrBase@864:ldtr_base IdtrBase@872:idtr_base GdtrBase@880:gdtr_base CsArbytes@888:cs_arbytes
          DsArbytes@892:ds_arbytes EsArbytes@896:es_arbytes FsArbytes@900:fs_arbytes GsArbytes@904:gs_arbytes SsArbytes@908:ss_arbytes
          TrArbytes@912:tr_arbytes LdtrArbytes@916:ldtr_arbytes SysenterCs@920:sysenter_cs SysenterEsp@928:sysenter_esp
          SysenterEip@936:sysenter_eip ShadowGs@944:shadow_gs MsrFlags@952:msr_flags MsrLstar@960:msr_lstar MsrStar@968:msr_star
          MsrCstar@976:msr_cstar MsrSyscallMask@984:msr_syscall_mask MsrEfer@992:msr_efer MsrTscAux@1000:msr_tsc_aux Tsc@1008
          PendingEvent@1016:pending_event ErrorCode@1020:error_code Flags@1024
        VcpuGuestContext 5168 = struct vcpu_guest_context
          Flags@512 UserRegs@520:user_regs Cr0@4984:ctrlreg[0] Cr2@5000:ctrlreg[2] Cr3@5008:ctrlreg[3] Cr4@5016:ctrlreg[4]
          Dr0@5048:debugreg[0] Dr1@5056:debugreg[1] Dr2@5064:debugreg[2] Dr3@5072:debugreg[3] Dr6@5096:debugreg[6] Dr7@5104:debugreg[7]
          FsBase@5144:fs_base GsBaseKernel@5152:gs_base_kernel GsBaseUser@5160:gs_base_user
        CpuUserRegs 200 = struct cpu_user_regs
          R15@0 R14@8 R13@16 R12@24 Rbp@32 Rbx@40 R11@48 R10@56 R9@64 R8@72 Rax@80 Rcx@88 Rdx@96 Rsi@104 Rdi@112 Rip@128 Cs@136
          Rflags@144 Rsp@152 Ss@160 Es@168 Ds@176 Fs@184 Gs@192
        HvmHwLapic 24 = struct hvm_hw_lapic
          ApicBaseMsr@0:apic_base_msr Disabled@8 TimerDivisor@12:timer_divisor TdtMsr@16:tdt_msr
        HvmHwLapicRegs 1024 = struct hvm_hw_lapic_regs
        HvmViridianDomain 32 = struct hvm_viridian_domain_context
          HypercallGpa@0:hypercall_gpa GuestOsId@8:guest_os_id TimeRefCount@16:time_ref_count ReferenceTsc@24:reference_tsc
        HvmViridianVcpu 216 = struct hvm_viridian_vcpu_context
          VpAssistMsr@0:vp_assist_msr ApicAssistPending@8:apic_assist_pending SimpMsr@16:simp_msr SintMsr@24:sint_msr
          StimerConfigMsr@152:stimer_config_msr StimerCountMsr@184:stimer_count_msr
        SyntheticInterruptMsrs 128 = -
        SyntheticTimerMsrs 32 = -
        HvmStartInfo 56 = struct hvm_start_info
          Magic@0 Version@4 Flags@8 NrModules@12:nr_modules ModlistPaddr@16:modlist_paddr CmdlinePaddr@24:cmdline_paddr
          RsdpPaddr@32:rsdp_paddr MemmapPaddr@40:memmap_paddr MemmapEntries@48:memmap_entries
        HvmModlistEntry 32 = struct hvm_modlist_entry
          Paddr@0 Size@8 CmdlinePaddr@16:cmdline_paddr
        HvmMemmapEntry 24 = struct hvm_memmap_table_entry
          Addr@0 Size@8 Type@16
        AcpiName6 6 = -
        AcpiHeader 36 = -
          Signature@0:- Length@4:- Revision@8:- Checksum@9:- OemId@10:- OemTableId@16:- OemRevision@24:- CreatorId@28:-
          CreatorRevision@32:-
        AcpiAddress 12 = -
          Space@0:- BitWidth@1:- BitOffset@2:- AccessSize@3:- Address@4:-
        AcpiRsdp 36 = -
          Signature@0:- Checksum@8:- OemId@9:- Revision@15:- RsdtAddress@16:- Length@20:- XsdtAddress@24:- ExtendedChecksum@32:-
        AcpiFacs 64 = -
          Signature@0:- Length@4:- HardwareSignature@8:- WakingVector@12:- GlobalLock@16:- Flags@20:- LongWakingVector@24:- Version@32:-
        AcpiFixed 116 = -
          Header@0:- FirmwareControl@36:- Dsdt@40:- InterruptModel@44:- PreferredPmProfile@45:- SciInterrupt@46:- SmiCommand@48:-
          AcpiEnable@52:- AcpiDisable@53:- S4BiosRequest@54:- PstateControl@55:- Pm1aEventBlock@56:- Pm1bEventBlock@60:-
          Pm1aControlBlock@64:- Pm1bControlBlock@68:- Pm2ControlBlock@72:- PmTimerBlock@76:- Gpe0Block@80:- Gpe1Block@84:-
          Pm1EventLength@88:- Pm1ControlLength@89:- Pm2ControlLength@90:- PmTimerLength@91:- Gpe0Length@92:- Gpe1Length@93:-
          Gpe1Base@94:- CstControl@95:- C2Latency@96:- C3Latency@98:- FlushSize@100:- FlushStride@102:- DutyOffset@104:- DutyWidth@105:-
          DayAlarm@106:- MonthAlarm@107:- Century@108:- BootFlags@109:- Flags@112:-
        AcpiFixed5 268 = -
          First@0:- ResetRegister@116:- ResetValue@128:- LongFirmwareControl@132:- LongDsdt@140:- LongPm1aEventBlock@148:-
          LongPm1bEventBlock@160:- LongPm1aControlBlock@172:- LongPm1bControlBlock@184:- LongPm2ControlBlock@196:-
          LongPmTimerBlock@208:- LongGpe0Block@220:- LongGpe1Block@232:- SleepControl@244:- SleepStatus@256:-
        AcpiMadt 44 = -
          Header@0:- LocalApicAddress@36:- Flags@40:-
        AcpiLocalApic 8 = -
          Type@0:- Length@1:- ProcessorId@2:- ApicId@3:- Flags@4:-
        XenAcpiInfo 40 = -
          Devices@0:- ProcessorCount@2:- PciStart@4:- PciLength@8:- MadtChecksumAddress@12:- FirstLocalApicAddress@16:-
          GenerationIdAddress@20:- HighPciStart@24:- HighPciLength@32:-
        E820Entry 20 = -
          Addr@0:- Size@8:- Type@16:-
        EvtchnAllocUnbound 8 = struct evtchn_alloc_unbound
          Dom@0 RemoteDom@2:remote_dom Port@4
        EvtchnBindInterdomain 12 = struct evtchn_bind_interdomain
          RemoteDom@0:remote_dom RemotePort@4:remote_port LocalPort@8:local_port
        EvtchnBindVirq 12 = struct evtchn_bind_virq
          Virq@0 Vcpu@4 Port@8
        EvtchnBindIpi 8 = struct evtchn_bind_ipi
          Vcpu@0 Port@4
        EvtchnBindVcpu 8 = struct evtchn_bind_vcpu
          Port@0 Vcpu@4
        EvtchnPort 4 = struct evtchn_close
          Port@0
        EvtchnStatus 24 = struct evtchn_status
          Dom@0 Port@4 Status@8 Vcpu@12 UnboundDom@16:u.unbound.dom InterdomainDom@16:u.interdomain.dom
          InterdomainPort@20:u.interdomain.port Virq@16:u.virq
        SchedShutdown 4 = struct sched_shutdown
          Reason@0
        SchedRemoteShutdown 8 = struct sched_remote_shutdown
          DomainId@0:domain_id Reason@4
        SchedPoll 24 = struct sched_poll
          Ports@0 NrPorts@8:nr_ports Timeout@16
        SchedPinOverride 4 = struct sched_pin_override
          Pcpu@0
        XenFeatureInfo 8 = struct xen_feature_info
          SubmapIndex@0:submap_idx Submap@4
        VcpuTimeInfo 32 = struct vcpu_time_info
          Version@0 TscTimestamp@8:tsc_timestamp SystemTime@16:system_time TscToSystemMul@24:tsc_to_system_mul TscShift@28:tsc_shift
          Flags@29
        VcpuInfo 64 = struct vcpu_info
          EvtchnUpcallPending@0:evtchn_upcall_pending EvtchnUpcallMask@1:evtchn_upcall_mask EvtchnPendingSel@8:evtchn_pending_sel
          ArchCr2@16:arch.cr2 Time@32
        SharedInfo 3136 = struct shared_info
          VcpuInfo@0:vcpu_info EvtchnPending@2048:evtchn_pending EvtchnMask@2560:evtchn_mask WcVersion@3072:wc_version WcSec@3076:wc_sec
          WcNsec@3080:wc_nsec WcSecHi@3084:wc_sec_hi ArchMaxPfn@3088:arch.max_pfn ArchNmiReason@3104:arch.nmi_reason
        VcpuHvmX86_32 120 = struct vcpu_hvm_x86_32
          Eax@0 Ecx@4 Edx@8 Ebx@12 Esp@16 Ebp@20 Esi@24 Edi@28 Eip@32 Eflags@36 Cr0@40 Cr3@44 Cr4@48 Efer@56 CsBase@64:cs_base
          DsBase@68:ds_base SsBase@72:ss_base EsBase@76:es_base TrBase@80:tr_base CsLimit@84:cs_limit DsLimit@88:ds_limit
          SsLimit@92:ss_limit EsLimit@96:es_limit TrLimit@100:tr_limit CsAr@104:cs_ar DsAr@106:ds_ar SsAr@108:ss_ar EsAr@110:es_ar
          TrAr@112:tr_ar
        VcpuHvmX86_64 112 = struct vcpu_hvm_x86_64
          Rax@0 Rcx@8 Rdx@16 Rbx@24 Rsp@32 Rbp@40 Rsi@48 Rdi@56 Rip@64 Rflags@72 Cr0@80 Cr3@88 Cr4@96 Efer@104
        VcpuHvmContext 128 = struct vcpu_hvm_context
          Mode@0 X86_32@8:cpu_regs.x86_32 X86_64@8:cpu_regs.x86_64
        """;
}
